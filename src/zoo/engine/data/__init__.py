"""On what: the room that turns any data into arrays for a rank.

Owns: column type <-> array (`columns`), rows kept for random reading (`spool`), data cut into parts (`shards`,
`files`), which rows make a step (`plan`), a rank's batches (`feed`), and the one question "what is this data?"
(`adapters`).
Leaves: where ranks run (clusters), tensors (frameworks), the training loop (loop).
"""
