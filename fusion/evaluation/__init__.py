"""One harness for every recipe and every metric: labelled data in, a report with intervals out."""
