package main

// openAIPricesDate is the day as of which openAIModels states OpenAI's list prices.
// Nothing fetches the list: whoever bills by them checks them first, and the start
// that adds them says so.
const openAIPricesDate = "2025-08-07"

// openAIModels are well-known models of OpenAI with its public list prices, in
// US dollars per million tokens.
func openAIModels() []declared {
	list := []declared{
		{Model: "gpt-5", Input: "1.25", CachedInput: "0.125", Output: "10.00", maxOutput: 128_000},
		{Model: "gpt-5-mini", Input: "0.25", CachedInput: "0.025", Output: "2.00", maxOutput: 128_000},
		{Model: "gpt-5-nano", Input: "0.05", CachedInput: "0.005", Output: "0.40", maxOutput: 128_000},
		{Model: "gpt-4.1", Input: "2.00", CachedInput: "0.50", Output: "8.00", maxOutput: 32_768},
		{Model: "gpt-4.1-mini", Input: "0.40", CachedInput: "0.10", Output: "1.60", maxOutput: 32_768},
		{Model: "gpt-4.1-nano", Input: "0.10", CachedInput: "0.025", Output: "0.40", maxOutput: 32_768},
		{Model: "gpt-4o", Input: "2.50", CachedInput: "1.25", Output: "10.00", maxOutput: 16_384},
		{Model: "gpt-4o-mini", Input: "0.15", CachedInput: "0.075", Output: "0.60", maxOutput: 16_384},
		{Model: "o4-mini", Input: "1.10", CachedInput: "0.275", Output: "4.40", maxOutput: 100_000},
	}
	for i := range list {
		list[i].BaseURL, list[i].CredentialEnv, list[i].owner = "https://api.openai.com/v1", "OPENAI_API_KEY", "openai"
	}
	return list
}
