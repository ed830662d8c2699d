"""Several engines as one: prompts find the member that knows their beginning, and an answer whose member is lost goes
on at another. docs/decisions/0015-a-pool-of-engines.md."""
