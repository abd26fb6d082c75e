"""The operator's desk: log-in and sessions, routes, and the state it shows."""
