"""The reference receiver of upstream/PROTOCOL.md: a server and the dataset folder that it writes.

    server.py    HTTP: who may send, how much, and the answers
    store.py     Store    batches into the folder, each record once, durable before it is acknowledged
    dataset.py            the folder itself: its files, how they are written and read

Never imported by the agent.
"""
