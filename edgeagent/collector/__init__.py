"""The reference receiver of upstream/PROTOCOL.md: a server and the dataset folder that it writes.

    server.py    HTTP: who may send, how much, and the answers
    incoming.py           a batch's records, judged and made into lines
    store.py     Store    lines into the folder, each record once, durable before it is acknowledged
    ids.py       Ids      which records are here
    known.py              the same read back at the start
    dataset.py            the folder itself: its files, how they are written and read
    tokens.py   Tokens   who may send, and for which devices
    uploads.py  Uploads  large records that come in pieces
    carried.py           archives of devices without a network, and their receipts
    pack.py              the folder as Parquet and WebDataset shards
    loadtest.py          a simulated fleet

Never imported by the agent.
"""
