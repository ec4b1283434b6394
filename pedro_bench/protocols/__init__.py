"""The contracts everything else is written against: backbone, context, method, task, batch, data."""
