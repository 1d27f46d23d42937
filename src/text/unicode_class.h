// The classes of characters that tokenizer.json's components speak of, as their reference engines define them.
#pragma once

namespace quire::text {

bool IsWhitespace(char32_t code_point);     // the White_Space property
bool IsNumeric(char32_t code_point);        // Nd, Nl, No
bool IsCombiningMark(char32_t code_point);  // Mn, Mc, Me
bool IsPunctuation(char32_t code_point);    // P*, and ASCII's own idea of punctuation ($ + < = > ^ ` | ~)
// A character of a word, \w: Alphabetic, M, Nd, Pc, Join_Control.
bool IsWordCharacter(char32_t code_point);

}  // namespace quire::text
