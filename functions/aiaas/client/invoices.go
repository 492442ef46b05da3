package client

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
)

func invoiceGroup() group {
	return group{name: "invoice", short: "Issue and read invoices", commands: []command{
		{
			use: "list", short: "List the organization's invoices", role: roleAdmin,
			method: http.MethodGet, path: "/v1/invoices", list: true, paged: true, columns: invoiceColumns(),
		},
		{
			use: "get INVOICE", short: "Show an invoice, or keep it as PDF", role: roleAdmin,
			args:   []source{{path: "/v1/invoices", about: "number"}},
			method: http.MethodGet, path: "/v1/invoices/{0}", sections: []section{{"lines", lineColumns()}},
			flags:   []flag{{name: "pdf", doc: "write the PDF into this file (- is standard output)"}},
			prepare: asFile,
		},
		{
			use: "preview", short: "Show what the running month comes to so far", role: roleAdmin,
			method: http.MethodGet, path: "/v1/invoices/preview", sections: []section{{"lines", lineColumns()}},
		},
		{
			use: "run", short: "Issue the invoice of a month; again as often as you like", role: roleAdmin,
			example: "  aiaas invoice run --period 2026-10",
			method:  http.MethodPost, path: "/v1/invoices/runs", sections: []section{{"invoices", invoiceColumns()}},
			flags: []flag{{name: "period", to: "body:period", doc: "the month: 2026-10", required: true}},
		},
	}}
}

func invoiceColumns() []column {
	return []column{
		{title: "ID", path: "id"}, {title: "NUMBER", path: "number"}, {title: "PERIOD", path: "period"}, {title: "STATUS", path: "status"},
		{title: "TOTAL", path: "total"}, {title: "CURRENCY", path: "currency"}, {title: "ISSUED", path: "issued_at"}, {title: "DUE", path: "due_at"},
	}
}

func lineColumns() []column {
	return []column{
		{title: "PROJECT", path: "project_id"}, {title: "MODEL", path: "model"}, {title: "REQUESTS", path: "requests"}, {title: "INPUT", path: "input_tokens"},
		{title: "CACHED", path: "cached_input_tokens"}, {title: "OUTPUT", path: "output_tokens"}, {title: "AMOUNT", path: "amount"},
	}
}

// asFile has an invoice as the document or the rows that the platform makes of it.
func asFile(k *call) error {
	v := k.values["pdf"]
	if !v.given() {
		if k.opts.output == formatCSV { // its lines are the rows
			one := *k.command
			one.accept, one.finish = "text/csv", func(k *call, a *answer) error {
				_, err := k.cmd.OutOrStdout().Write(a.body)
				return wrapped("write rows", err)
			}
			k.command = &one
		}
		return nil
	}
	if v.text == "" {
		return Usage("--pdf names a file")
	}
	one := *k.command
	one.accept, one.finish = "application/pdf", func(k *call, a *answer) error { return k.keep(v.text, a) }
	k.command = &one
	return nil
}

// keep writes a file whole or not at all: a program that waits for it never finds
// half of it.
func (k *call) keep(path string, a *answer) error {
	if !a.is("application/pdf") {
		return fmt.Errorf("the service sent no PDF but %q", a.header.Get("Content-Type"))
	}
	if path == "-" {
		_, err := k.cmd.OutOrStdout().Write(a.body)
		return wrapped("write PDF", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".aiaas-*.pdf")
	if err != nil {
		return wrapped("write PDF", err)
	}
	_, err = tmp.Write(a.body)
	if closed := tmp.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name()) // it is of no use
		return wrapped("write PDF", err)
	}
	return say(k.cmd.ErrOrStderr(), path+" is written.")
}
