"""What is measured beside the service, one file each, as plain as each one's own documentation has it.

How each is started, and what it is sent, is in `bench/roster.py`.
"""
