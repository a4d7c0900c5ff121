"""asyncio: the same programs as in blocking code, on whichever driver. Nothing else imports it, except tools for tests.

Of the event loop:

- `loop`: what is needed of it: watch a descriptor, be woken, run a task, run a call in a thread.
- `selector_thread`: watches descriptors for a loop that cannot.
- `wakeup`: ends a wait, from anywhere; watches a connection's socket.
- `changes`: tasks that wait until something has changed.
- `ownership`: which task uses a connection.

Connections:

- `opening`: opens a connection in a thread, and closes it if nobody waits for it any more.
- `threaded`: an asynchronous backend over one that blocks.
- `backend`: which backend a connection has on the loop.
- `connection`: `AsyncConnection`, `connect_async`, `notify_async` and `notify_many_async`.
- `runner`: performs the actions of a program on an asynchronous backend.

The documented handler:

- `handler`: `AsyncNotificationHandler`.

The listener:

- `listener`: `AsyncListener`, the class that users call.
- `source`: where its connections come from; one attempt to connect.
- `reconnecting`: how the loop's actions are performed on one connection after another.
- `lifecycle`: which task runs the loop, and how it ends.
- `rest`: what is left to deliver at its end.
- `delivery`: which notification goes to a function, to a coroutine function, to a stream or to the iteration.
- `stream`: the asynchronous iterators.
- `probe`: how to find out whether notifications arrive.
"""
