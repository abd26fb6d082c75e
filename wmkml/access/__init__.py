"""Who may do what: the keys of stage, worker and operator, the desk's PIN, and the trusted hosts."""
