"""Commands that speak to a PACS."""
