"""A table version becomes an index generation: IVF shards with exact re-ranking and a measured recall."""
