"""The subcommands of `hotline`, one module each: `register(subparsers)` and `run(args)`."""
