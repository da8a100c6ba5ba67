//! Rust source cut into words, without comments and the insides of strings.

/// A word, a `::`, or a single other character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its text; lifetimes and literals are one token each.
    pub text: String,
    /// Its line, from 1.
    pub line: usize,
}

impl Token {
    /// Whether this is that text.
    pub fn is(&self, text: &str) -> bool {
        self.text == text
    }

    /// Whether this is an identifier or a keyword.
    pub fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// Cuts a source text.
pub fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { chars: text.chars().collect(), at: 0, line: 1, out: Vec::new() };
    while lexer.at < lexer.chars.len() {
        lexer.step();
    }
    lexer.out
}

/// The place of the bracket that closes the one at `open`, or the last place.
pub fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0usize;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return i;
        }
    }
    tokens.len().saturating_sub(1)
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    out: Vec<Token>,
}

impl Lexer {
    fn step(&mut self) {
        match (self.peek(0), self.peek(1)) {
            ('/', '/') => self.skip_while(|c| c != '\n'),
            ('/', '*') => self.skip_block_comment(),
            ('"', _) => self.string(),
            ('\'', _) => self.quote(),
            (':', ':') => self.take(2),
            (c, _) if c.is_whitespace() => self.advance(),
            (c, _) if is_word(c) => self.word(),
            _ => self.take(1),
        }
    }

    fn word(&mut self) {
        let start = self.at;
        self.skip_while(is_word);
        let word: String = self.chars[start..self.at].iter().collect();
        match (word.as_str(), self.peek(0)) {
            ("r" | "br" | "cr", '"' | '#') if self.raw_string() => {}
            ("b" | "c", '"') => self.string(),
            ("b", '\'') => self.quote(),
            _ => self.push(word),
        }
    }

    fn string(&mut self) {
        self.advance();
        while self.at < self.chars.len() && self.peek(0) != '"' {
            if self.peek(0) == '\\' {
                self.advance();
            }
            self.advance();
        }
        self.advance();
        self.push("\"\"".to_owned());
    }

    // Whether one stood here; `r#name` is none.
    fn raw_string(&mut self) -> bool {
        let hashes = self.chars[self.at..].iter().take_while(|c| **c == '#').count();
        if self.peek(hashes) != '"' {
            return false;
        }
        (0..=hashes).for_each(|_| self.advance());
        let ends = |l: &Self| l.peek(0) == '"' && (1..=hashes).all(|i| l.peek(i) == '#');
        while self.at < self.chars.len() && !ends(self) {
            self.advance();
        }
        (0..=hashes).for_each(|_| self.advance());
        self.push("\"\"".to_owned());
        true
    }

    // A character, or a lifetime.
    fn quote(&mut self) {
        if self.peek(1) == '\\' {
            (0..3).for_each(|_| self.advance());
            self.skip_while(|c| c != '\'' && c != '\n');
            self.advance();
            return self.push("''".to_owned());
        }
        if self.peek(2) == '\'' {
            (0..3).for_each(|_| self.advance());
            return self.push("''".to_owned());
        }
        let start = self.at;
        self.advance();
        self.skip_while(is_word);
        self.push(self.chars[start..self.at].iter().collect());
    }

    fn skip_block_comment(&mut self) {
        let mut depth = 0usize;
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                _ => {
                    self.advance();
                    continue;
                }
            }
            self.advance();
            self.advance();
            if depth == 0 {
                return;
            }
        }
    }

    fn take(&mut self, count: usize) {
        let text = self.chars[self.at..self.at + count].iter().collect();
        (0..count).for_each(|_| self.advance());
        self.push(text);
    }

    fn push(&mut self, text: String) {
        self.out.push(Token { text, line: self.line });
    }

    fn skip_while(&mut self, what: impl Fn(char) -> bool) {
        while self.at < self.chars.len() && what(self.peek(0)) {
            self.advance();
        }
    }

    fn advance(&mut self) {
        if self.peek(0) == '\n' {
            self.line += 1;
        }
        self.at += 1;
    }

    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
