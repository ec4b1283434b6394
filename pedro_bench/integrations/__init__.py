"""This package's methods inside other people's tools; each module needs an extra of its own."""
