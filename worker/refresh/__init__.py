"""One refresh, from the message to the commit. Start here, with `refresher`: it has the steps in their order.

Then, in the order of the steps: `attempt` (what travels through them), `opener` (1 to 4, a group together), `under_way`
(when a part of a large message begins), `recovery` (2: an answer that waits),
`requests` (2: what the call is made of), `admission` (3: gates and rates), `caller` (5: the call), `outcome` (6: what
the answer means for the row), `committer` (7 and 8: store, then publish).
"""
