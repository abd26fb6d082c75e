"""Making `env/` and building the pages, before anything is installed: standard library and `system/` only."""
