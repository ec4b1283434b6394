"""What knows Hydra: overrides as typed become settings, and launchers start workers."""
