"""The pool of teachers: on disk (manifest, records), checked, loaded, added to, and pre-trained from real data."""
