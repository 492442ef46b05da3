package main

import "testing"

func (o options) steady(t testing.TB) {}
