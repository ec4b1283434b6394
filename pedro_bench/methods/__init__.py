"""One file, one method; none imports another. The folder's listing is the list of methods."""
