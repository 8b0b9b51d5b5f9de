"""The dashboard: pages over the subscription API, served from the package; no request leaves the machine."""
