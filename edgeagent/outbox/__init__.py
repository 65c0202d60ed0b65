"""Where records wait until every upstream has them: durable, bounded, and evicted by worth.

    outbox.py   Outbox   the queue: one SQLite file, one transaction a step
    files.py             opening that file: made whole or not at all, set aside if it is damaged
    parcels.py  Parcels  a row of it: records that lie together, and how they are taken apart
    routes.py   Routes   who waits for what
    blobs.py    Blobs    large records as files
    room.py     Room     eviction by worth, when room is short
    expiry.py   Expiry   what has become too old is given up
    damaged.py           what can be read of a file that was set aside, page by page
    salvage.py  Salvage  queues it again
    dispatch.py Dispatch what leaves, in which order, and what becomes of it
    desk.py     Desk     what the command line asks
    pace.py     Pace     how quickly it fills, and what is written to the card
    counts.py   Counts   counters that are committed with what they count
    writer.py   Writer   group commit, and what happens while the disk cannot be written

All of it is called by one thread, starts none, and is handed the time.
"""
