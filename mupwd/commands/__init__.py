"""The `mupwd` command line, one module per subcommand."""
