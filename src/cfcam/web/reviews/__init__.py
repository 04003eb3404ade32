"""What readers say of maps: kept in the audit, listed, and handed on."""
