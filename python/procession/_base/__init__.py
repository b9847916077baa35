"""What everything stands on: errors, deadlines, logging. Nothing here reads, writes or starts."""
