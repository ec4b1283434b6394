"""The command line: overrides in, records out; Hydra and OmegaConf are imported only here."""
