"""`ouvert serve MODEL --replicas N`: a pool whose members Ray Serve starts, and starts again when they die.

`cluster` is what the server's own process has: it starts `driver`, a process that speaks to Ray, and reads from it
where the replicas are. Ray runs `replica` in processes of its own. docs/decisions/0015-a-pool-of-engines.md.
"""
