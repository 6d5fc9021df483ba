"""What each subcommand does; `cli` imports one when it runs. Each module has `run(config, args)`, which
returns the exit status."""
