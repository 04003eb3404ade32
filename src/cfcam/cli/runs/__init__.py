"""Commands about runs that others have begun."""
