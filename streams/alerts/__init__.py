"""Alerts: rules over emotion events and conversation metrics, with evidence."""
