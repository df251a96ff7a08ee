"""Screens a worklist, a folder, list or archive of films, and writes a table of results sorted by urgency.

Films are screened in this machine's processes, through a running service, or on Ray; what has been screened is kept in
a journal, so that a run that was killed goes on where it stopped. Imports `handler` and no other package.
"""
