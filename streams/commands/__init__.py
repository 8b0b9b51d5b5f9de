"""The subcommands of `affectstream`, one file a family; each imports what it needs when it is called."""
