"""The use cases: store, search, retrieve, delete; storage and index kept in agreement."""
