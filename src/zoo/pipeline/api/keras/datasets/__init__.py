"""Small data sets of older programs: read from files of this machine, fetched where they are not there."""
