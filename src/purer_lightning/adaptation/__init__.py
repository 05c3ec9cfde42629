"""A trained meta-model in use: loaded, adapted to pictures of one's own, exported, shared."""
