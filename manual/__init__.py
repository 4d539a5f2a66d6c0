"""Makes docs/reference/commands.md and the manual pages from the program: run at build time, and not installed.

click-man, which makes pages from commands too, cuts off the sentence after each name and cannot say exit statuses,
environment and files, nor turn our documents into haagent.yaml(5) and haagent.service(8).
"""
