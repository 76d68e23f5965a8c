"""The store's tables (SQLAlchemy Core). Their names start with `harness_`; `harness_meta` holds the schema version."""

from sqlalchemy import JSON, Column, Float, Integer, LargeBinary, MetaData, String, Table, Text, UniqueConstraint

SCHEMA_VERSION = 2

metadata = MetaData()

meta = Table(
    "harness_meta", metadata, Column("key", String(64), primary_key=True), Column("value", Text, nullable=False)
)

chunks = Table(
    "harness_chunks",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", String(64), nullable=False, unique=True),  # SHA-256 of the four below; also the array file's name
    Column("fingerprint", String(64), nullable=False, index=True),
    Column("first_seed", Integer, nullable=False),
    Column("last_seed", Integer, nullable=False),
    Column("extractor", String(200), nullable=False),
    Column("status", String(16), nullable=False),  # claimed | done | failed
    Column("owner", String(200)),  # who claimed it
    Column("expires", Float),  # when the claim lapses, seconds since 1970
    Column("sha256", String(64)),  # of the array file
    Column("info", JSON),  # what the worker reports: nfe, evaluations, seconds, device, call shape, versions
    Column("reason", Text),
    Column("step", Integer),
    UniqueConstraint("fingerprint", "first_seed", "last_seed", "extractor"),
)

results = Table(
    "harness_results",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("fingerprint", String(64), nullable=False, index=True),
    Column("extractor", String(200), nullable=False),
    Column("reference", String(200), nullable=False),
    Column("first_seed", Integer, nullable=False),
    Column("n", Integer, nullable=False),
    Column("status", String(16), nullable=False),  # done | failed
    Column("reason", Text),
    Column("step", Integer),
    Column("metric", String(64), nullable=False),
    Column("value", Float),
    Column("low", Float),
    Column("high", Float),
    Column("replicates", JSON),  # the metric with each block of seeds left out
    Column("blocks", JSON),  # first seed of each block
    Column("details", JSON),  # of a measure: quantiles over samples, values by noise level, trajectories
    Column("nfe", Float),
    Column("nfe_min", Integer),
    Column("nfe_max", Integer),
    Column("evaluations", Integer),  # network rows really computed, padding included
    Column("seconds", Float),  # summed over workers
    Column("trial", JSON, nullable=False),
    Column("provenance", JSON, nullable=False),
    Column("finished_at", String(32), nullable=False),
    UniqueConstraint("fingerprint", "extractor", "reference", "first_seed", "n"),
)

grids = Table(
    "harness_grids",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("plan", JSON, nullable=False),
    Column("updated_at", String(32), nullable=False),
)

facts = Table(
    "harness_facts", metadata, Column("key", String(300), primary_key=True), Column("value", JSON, nullable=False)
)

images = Table(
    "harness_images",
    metadata,
    Column("fingerprint", String(64), primary_key=True),
    Column("first_seed", Integer, primary_key=True),
    Column("count", Integer, nullable=False),
    Column("png", LargeBinary, nullable=False),
)
