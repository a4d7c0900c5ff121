"""asyncio: the same programs as in blocking code, on whichever driver. The only package that imports asyncio.

- `loop`: what is needed of an event loop: watch a descriptor, be woken, run a call in a thread.
- `wakeup`: ends a wait, from anywhere; watches a connection's socket.
- `threaded`: an asynchronous backend over one that blocks.
- `runner`: performs the actions of a program on an asynchronous backend.
- `handler`: `AsyncNotificationHandler`.
- `connection`: `AsyncConnection`, `connect_async`, `notify_async` and `notify_many_async`.
"""
