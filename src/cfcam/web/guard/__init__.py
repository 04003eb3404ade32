"""Who may ask, from where, how much, and how many at a time; what every answer says to the browser beside itself.

Each guard is plain ASGI, so that answers are streamed through it and a client that leaves is noticed.
"""
