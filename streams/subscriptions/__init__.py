"""Subscriptions: events, alerts and sessions to everybody who wants to follow them, over WebSocket, SSE and HTTP."""
