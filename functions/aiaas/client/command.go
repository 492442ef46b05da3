package client

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// group is a word of the command with the words below it: `aiaas key list`.
type group struct {
	name, short string
	commands    []command
}

// command is one line of the table.
type command struct {
	use         string // with its arguments: "revoke KEY"
	short, long string
	example     string
	role        role
	method      string
	path        string // {0} is the first argument
	accept      string // "" is JSON, or rows where those are asked for
	args        []source
	optional    int // how many of the last arguments may be left out
	flags       []flag
	list        bool     // the answer is a list
	paged       bool     // it comes in pages: all are followed
	columns     []column // of a list
	sections    []section
	ask         string                     // what a destructive command asks; {0} is the first argument, {1} the second
	prepare     func(*call) error          // after arguments and flags have been read
	finish      func(*call, *answer) error // instead of printing the answer
	show        func(*call, value) error   // instead of the usual table
	streamed    bool                       // the answer is passed on while it comes, however long it is
	// alone runs in the place of the request where the flags say so: done.
	alone func(cmd *cobra.Command, env Env, o *options, values map[string]*flagValue) (done bool, err error)
	done  string // said where the answer is empty; {0} is the first argument
}

// section is a list within an answer, shown as a table of its own.
type section struct {
	path    string
	columns []column
}

// options are the flags that all client commands share.
type options struct {
	profile, baseURL, keyFile, role string
	output                          string
	dryRun, yes                     bool
	timeout                         time.Duration
}

const defaultTimeout = 30 * time.Second

// Commands are the client commands.
func Commands(env Env) []*cobra.Command {
	var out []*cobra.Command
	for _, g := range []group{keyGroup(), userGroup(), serviceAccountGroup(), roleGroup(), projectGroup(), orgGroup(), planGroup(), modelGroup(), budgetGroup(), requestGroup(), invoiceGroup(), auditGroup(), jobGroup(), webhookGroup(), mailGroup()} {
		out = append(out, g.build(env))
	}
	usage := usageCommand()
	o := &options{}
	cmd := usage.build(env, o)
	o.bind(cmd)
	return append(append(out, cmd), loginCommands(env)...)
}

func (g *group) build(env Env) *cobra.Command {
	cmd := &cobra.Command{Use: g.name, Short: g.short, Args: NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	o := &options{}
	o.bind(cmd)
	for i := range g.commands {
		cmd.AddCommand(g.commands[i].build(env, o))
	}
	return cmd
}

func (o *options) bind(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&o.profile, "profile", "", "file with the address and keys (default $AIAAS_PROFILE, else credentials.json in the data folder)")
	f.StringVar(&o.baseURL, "base-url", "", "address of the platform (default: the profile's)")
	f.StringVar(&o.keyFile, "key-file", "", "file that holds the key to use (default $AIAAS_KEY, else the profile's)")
	f.StringVar(&o.role, "use-key", "", "which key of the profile: api, admin or platform (default: the one that the command needs)")
	f.BoolVar(&o.dryRun, "dry-run", false, "print the request that would change something instead of sending it")
	f.BoolVar(&o.yes, "yes", false, "do not ask before what can't be undone")
	f.DurationVar(&o.timeout, "timeout", defaultTimeout, "how long one request may take")
	BindOutput(cmd, &o.output)
	words(cmd, "use-key", string(roleAPI), string(roleAdmin), string(rolePlatform))
}

// The forms of output.
const (
	Table      = "table" // for people
	formatJSON = "json"
	formatCSV  = "csv"
)

// OutputFlag is the name of the flag for the form of the output.
const OutputFlag = "output"

// BindOutput adds the flag for the form of the output.
func BindOutput(cmd *cobra.Command, to *string) {
	cmd.PersistentFlags().StringVarP(to, OutputFlag, "o", Table, "table, json (the API's own answer) or csv")
	words(cmd, OutputFlag, Table, formatJSON, formatCSV)
}

// CheckOutput refuses a form that is none.
func CheckOutput(format string) error {
	return oneOf(OutputFlag, format, Table, formatJSON, formatCSV)
}

func oneOf(name, got string, allowed ...string) error {
	if slices.Contains(allowed, got) {
		return nil
	}
	return Usage("--%s is %s, not %q", name, strings.Join(allowed, ", "), got)
}

// words completes a flag with fixed words.
func words(cmd *cobra.Command, name string, list ...string) {
	_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
}

func (o *options) check() error {
	if err := CheckOutput(o.output); err != nil {
		return err
	}
	if o.timeout <= 0 {
		return Usage("--timeout must be more than nothing")
	}
	if o.role == "" {
		return nil
	}
	return oneOf("use-key", o.role, string(roleAPI), string(roleAdmin), string(rolePlatform))
}

// NoArgs refuses arguments.
func NoArgs(cmd *cobra.Command, args []string) error {
	if err := cobra.NoArgs(cmd, args); err != nil {
		return UsageError{Err: err}
	}
	return nil
}

func (c *command) build(env Env, o *options) *cobra.Command {
	cmd := &cobra.Command{Use: c.use, Short: c.short, Long: c.long, Example: c.example}
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) < len(c.args)-c.optional || len(args) > len(c.args) {
			return Usage("aiaas %s takes %s; see aiaas %s --help", strings.TrimPrefix(cmd.CommandPath(), "aiaas "), c.wants(), strings.TrimPrefix(cmd.CommandPath(), "aiaas "))
		}
		return nil
	}
	values := make([]*flagValue, len(c.flags))
	for i := range c.flags {
		values[i] = c.flags[i].bind(cmd)
		c.flags[i].completes(cmd, env, o, c.role)
	}
	if c.paged {
		cmd.Flags().Int("limit", 0, "the most items in all (default: all)")
	}
	cmd.ValidArgsFunction = c.completeArgs(env, o)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if done, err := c.instead(cmd, env, o, values); done || err != nil {
			return err
		}
		call, err := c.read(env, o, cmd, args)
		if err != nil {
			return err
		}
		if err := call.fill(values); err != nil {
			return err
		}
		return call.run(cmd.Context())
	}
	return cmd
}

// instead runs what needs no platform.
func (c *command) instead(cmd *cobra.Command, env Env, o *options, values []*flagValue) (done bool, err error) {
	if c.alone == nil {
		return false, nil
	}
	if err := o.check(); err != nil {
		return true, err
	}
	named := map[string]*flagValue{}
	for _, v := range values {
		named[v.name] = v
	}
	return c.alone(cmd, env, o, named)
}

func (c *command) wants() string {
	_, names, _ := strings.Cut(c.use, " ")
	if names == "" {
		return "no arguments"
	}
	return names
}

// call is one run of a command.
type call struct {
	*command

	env    Env
	cmd    *cobra.Command
	opts   *options
	args   []string
	limit  int // the most items of a list; 0: all
	query  url.Values
	body   map[string]any
	target *target
	values map[string]*flagValue
}

func (c *command) read(env Env, o *options, cmd *cobra.Command, args []string) (*call, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	k := &call{command: c, env: env, cmd: cmd, opts: o, args: args, query: url.Values{}, values: map[string]*flagValue{}}
	if c.paged {
		k.limit, _ = cmd.Flags().GetInt("limit") // the flag is there
		if k.limit < 0 {
			return nil, Usage("--limit must not be negative")
		}
	}
	var err error
	k.target, err = o.target(env, c.role)
	return k, err
}

// fill puts the flags where the request has them.
func (k *call) fill(values []*flagValue) error {
	if k.method != http.MethodGet && k.method != http.MethodDelete {
		k.body = map[string]any{}
	}
	for _, v := range values {
		k.values[v.name] = v
		if err := v.into(k); err != nil {
			return err
		}
	}
	if k.prepare != nil {
		return k.prepare(k)
	}
	return nil
}

// changes tells whether the command changes something.
func (k *call) changes() bool { return k.method != http.MethodGet }

// request is what the command sends.
func (k *call) request() *request {
	r := &request{method: k.method, path: k.path, query: k.query, accept: k.accept}
	for i, arg := range k.args {
		r.path = strings.ReplaceAll(r.path, fmt.Sprintf("{%d}", i), url.PathEscape(arg))
	}
	if k.body != nil {
		r.body = k.body
	}
	if r.accept == "" {
		r.accept = "application/json"
		if k.list && k.opts.output == formatCSV {
			r.accept = "text/csv, application/json;q=0.5"
		}
	}
	return r
}

// naming puts the arguments into a text.
func (k *call) naming(text string) string {
	var pairs []string
	for i, arg := range k.args {
		pairs = append(pairs, "{"+strconv.Itoa(i)+"}", printable(arg))
	}
	return strings.NewReplacer(pairs...).Replace(text)
}
