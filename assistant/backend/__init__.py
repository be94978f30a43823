"""The service API of record: identity, accounts, cases, cards."""
