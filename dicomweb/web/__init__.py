"""HTTP in, HTTP out. Starlette lives here only."""
