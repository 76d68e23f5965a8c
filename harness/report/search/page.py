from pathlib import Path


def write_search_report(store, study, out):
    return out
