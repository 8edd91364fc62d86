"""The vocabulary that every room shares: pure data, no behaviour beyond checks and digests."""
