"""What downloads are made of: addresses, answers, parts of files, locks. Nothing here opens a connection."""
