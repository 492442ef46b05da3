package client

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// kind is what a flag takes.
type kind int

const (
	text    kind = iota // one text
	texts               // several, by commas or repeated
	number              // a whole number
	numbers             // several
	yes                 // nothing, or true and false
)

// flag is a flag of one command, and where its value goes.
type flag struct {
	name, doc string
	to        string // "body:limits.requests_per_minute", "query:group_by"; "" for what prepare reads
	kind      kind
	required  bool
	values    []string // the only ones that it takes
	complete  source
}

// flagValue is a flag as it was given.
type flagValue struct {
	*flag

	cmd  *cobra.Command
	text string
	list []string
	yes  bool
}

func (f *flag) bind(cmd *cobra.Command) *flagValue {
	v := &flagValue{flag: f, cmd: cmd}
	doc := f.doc
	if len(f.values) > 0 {
		doc += ": " + strings.Join(f.values, ", ")
	}
	if f.required {
		doc += " (required)"
	}
	switch f.kind {
	case text, number:
		cmd.Flags().StringVar(&v.text, f.name, "", doc)
	case texts, numbers:
		cmd.Flags().StringSliceVar(&v.list, f.name, nil, doc)
	case yes:
		cmd.Flags().BoolVar(&v.yes, f.name, false, doc)
	}
	return v
}

func (f *flag) completes(cmd *cobra.Command, env Env, o *options, r role) {
	switch {
	case len(f.values) > 0:
		words(cmd, f.name, f.values...)
	case f.complete.path != "":
		_ = cmd.RegisterFlagCompletionFunc(f.name, func(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
			return f.complete.ask(cmd.Context(), env, o, r, begun), cobra.ShellCompDirectiveNoFileComp
		}) // the flag is there
	}
}

func (v *flagValue) given() bool { return v.cmd.Flags().Changed(v.name) }

// into puts the value into the request.
func (v *flagValue) into(k *call) error {
	if !v.given() {
		if v.required {
			return Usage("--%s is required", v.name)
		}
		return nil
	}
	for _, one := range append([]string{v.text}, v.list...) {
		if len(v.values) > 0 && one != "" {
			if err := oneOf(v.name, one, v.values...); err != nil {
				return err
			}
		}
	}
	place, name, _ := strings.Cut(v.to, ":")
	switch place {
	case "query":
		k.query.Set(name, v.word())
	case "body":
		parsed, err := v.parse()
		if err != nil {
			return err
		}
		put(k.body, name, parsed)
	}
	return nil
}

// word is the value in a query.
func (v *flagValue) word() string {
	switch v.kind {
	case texts, numbers:
		return strings.Join(v.list, ",")
	case yes:
		return strconv.FormatBool(v.yes)
	default:
		return v.text
	}
}

// parse is the value in a body.
func (v *flagValue) parse() (any, error) {
	switch v.kind {
	case number:
		return v.whole(v.text)
	case numbers:
		out := make([]int64, len(v.list))
		for i, one := range v.list {
			n, err := v.whole(one)
			if err != nil {
				return nil, err
			}
			out[i] = n
		}
		return out, nil
	case texts:
		return v.list, nil
	case yes:
		return v.yes, nil
	default:
		return v.text, nil
	}
}

func (v *flagValue) whole(s string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil {
		return 0, Usage("--%s takes a whole number, not %q", v.name, s)
	}
	return n, nil
}

// put sets a member by its path.
func put(body map[string]any, path string, v any) {
	name, rest, nested := strings.Cut(path, ".")
	if !nested {
		body[name] = v
		return
	}
	inner, ok := body[name].(map[string]any)
	if !ok {
		inner = map[string]any{}
		body[name] = inner
	}
	put(inner, rest, v)
}
