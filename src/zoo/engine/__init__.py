"""The engine: one way to train, score and predict for every framework on every cluster. Read `contracts` first."""
