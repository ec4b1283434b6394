"""Serving: many tenants' adapters of one method on one backbone, mixed in every batch."""

from pedro_bench.serving.bank import AdapterBank
from pedro_bench.serving.fast_decoding import FastDecoder
from pedro_bench.serving.registry import BankMemory, Search, TenantAdapter

__all__ = ["AdapterBank", "BankMemory", "FastDecoder", "Search", "TenantAdapter"]
