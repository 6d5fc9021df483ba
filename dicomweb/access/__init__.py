"""Who may do what: principals and their rights, keys and tokens by which they are known. Knows nothing of HTTP."""
