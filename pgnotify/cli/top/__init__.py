"""`pgnotify top`: a live screen of channels, the queue, and the sessions that listen.

- `top`: the command, and its options.
- `traffic`, `others`: the numbers that it shows, and the other sessions that listen.
- `screen`: the tables made from them. `view`: how these are shown. `keys`: the key that ends it.
"""
